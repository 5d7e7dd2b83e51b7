"""What Greenroom costs, measured on the machine at hand beside something that anybody knows. Nothing fails here."""
