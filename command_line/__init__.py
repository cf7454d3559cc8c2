"""What each command is called, takes and is for. What it does is in commands/, which is loaded when it runs: so --help
and completion answer at once.
"""
