"""What a site uploads in the CHoRUS layout, taken in at the other side."""
