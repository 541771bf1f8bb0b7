"""What is stored: the documented models and the tables made from them."""
