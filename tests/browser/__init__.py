"""The browser console in a real Chromium."""
