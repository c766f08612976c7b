"""Personal data in images: text and faces found and covered, metadata left behind."""
