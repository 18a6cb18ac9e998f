"""Pictures outside of a conversation: fetched where a client links to them, and kept."""
