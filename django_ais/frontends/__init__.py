"""Doors for front ends that exist: AG-UI and the Vercel AI SDK start a run and follow it in their own words."""
