"""What a model sees while it happens: clips cut from a camera or a video as they come, and a page that shows them."""
