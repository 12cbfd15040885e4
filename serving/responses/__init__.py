"""What responses say: JSON, problem details, and their schemas in the OpenAPI document."""
