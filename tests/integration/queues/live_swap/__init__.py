"""An application whose queue engine is changed while its jobs run: its settings, its workflow, its workers."""
