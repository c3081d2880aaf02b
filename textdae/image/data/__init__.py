"""From a source of pictures to pixels."""
