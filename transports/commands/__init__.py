"""The commands of `grokproto`, a file each; `cli` finds them."""
