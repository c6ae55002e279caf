"""Raw rows -> annotations -> examples -> splits -> pixels. Nothing in this package imports torch."""
