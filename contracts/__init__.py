"""What each table and each Raw event must look like, and what happens to what does not."""
