"""All that turns an image into a result; :mod:`.load` opens a model of any kind."""
