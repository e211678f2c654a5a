"""Care for what is stored, by people with rights of their own: back up, restore, migrate, erase. No function imports it."""
