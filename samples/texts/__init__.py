"""Lines and pages of text in several fonts, turned, noisy, on paper and on photographs, with their truth."""
