"""Small control tasks that papers define: the Wall environment of DINO-WM, and a race track for imitation."""
