"""Programs that heavy clients run; they import nothing of the project's."""
