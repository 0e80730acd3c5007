-- Which process of a site had a request.

ALTER TABLE requests ADD COLUMN worker TEXT;             -- NULL: the embedded interpreter, or no application
