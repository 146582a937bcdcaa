"""The web page: images dropped into a browser, predictions beside each other. Needs gradio."""
