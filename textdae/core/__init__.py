"""The interfaces and tools that all modalities share; nothing here knows a modality."""
