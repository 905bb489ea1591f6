"""HTTP/1.1 for every port that speaks it: messages, and the conversation of one connection."""
