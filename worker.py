"""The worker process: settings, adapters, activities, the Temporal worker and the dispatcher."""
