"""Published weights into checkpoint folders of this library."""
