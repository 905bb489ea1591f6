"""What both ports are made of: addresses, shares of connections, and the conversation of the native one."""
