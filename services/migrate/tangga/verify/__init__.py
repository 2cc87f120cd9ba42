"""Every step up, down and up again, with rows."""
