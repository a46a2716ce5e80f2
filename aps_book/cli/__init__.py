"""The command `aps`: one file for each group of commands. What takes seconds to import is imported inside the commands."""
