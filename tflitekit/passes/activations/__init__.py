"""What `convert-activations` does: a plan of what can be converted, new parameters and codes, and islands of what cannot."""
