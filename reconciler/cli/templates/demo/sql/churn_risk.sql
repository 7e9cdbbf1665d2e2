-- Customers who used to buy, and stopped.
SELECT customer_id
FROM customers
JOIN orders USING (customer_id)
WHERE consent
GROUP BY customer_id
HAVING count(*) >= :min_orders
   AND max(ordered_at) < :last_order_before
