"""Rules about the project's source, checked on its syntax trees."""
