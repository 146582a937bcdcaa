"""Pictures of segments: overlays, contact sheets, fonts. Without torch."""
