"""The demo's second half: three services that act for a user, each with a daemon of its own, and one that attests.

`gateway`, `ledger` and `approvals` are programs as a team would write them; `house` starts them, the rest is story.
"""
