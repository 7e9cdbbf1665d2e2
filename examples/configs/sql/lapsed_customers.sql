-- Customers who may be written to and have not ordered since :since.
-- Colons in text ('12:30') and casts (::date) are left alone: only names in `params` are bound.
SELECT c.email, c.country
FROM customers AS c
WHERE c.consent
  AND NOT EXISTS (
    SELECT 1
    FROM orders AS o
    WHERE o.customer_id = c.customer_id
      AND o.ordered_at >= :since
  )
