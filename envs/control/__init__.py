"""Small worlds that papers define: the Wall of DINO-WM."""
