"""What is shown to people: text, JSON and self-contained HTML; pictures are inline SVG."""
