"""The credentials and who may use them when: waiting in line, keeping, seeing and changing."""
