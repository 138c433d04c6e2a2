"""One file a subcommand. They import what they need when they are called."""
