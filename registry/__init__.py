"""Models and prompts as exact, immutable versions with movable aliases."""
