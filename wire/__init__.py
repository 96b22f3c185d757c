"""The wire vocabulary by subject; everybody imports it from `protocol`."""
