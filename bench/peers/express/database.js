// The user's row, and the events already handled.
const Database = require("better-sqlite3");

function open(path) {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL"); // a webhook answered with 200 is on disk; better-sqlite3's default is NORMAL
  db.exec(`
    CREATE TABLE IF NOT EXISTS users (
      id TEXT PRIMARY KEY,
      stripe_customer_id TEXT UNIQUE,
      stripe_subscription_id TEXT,
      stripe_price_id TEXT,
      subscription_status TEXT,
      current_period_end INTEGER,
      cancel_at_period_end INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE IF NOT EXISTS stripe_events (
      id TEXT PRIMARY KEY,
      type TEXT NOT NULL,
      received_at INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
    );
  `);
  return db;
}

function statements(db) {
  return {
    recordEvent: db.prepare("INSERT OR IGNORE INTO stripe_events (id, type) VALUES (?, ?)"),
    userOfCustomer: db.prepare("SELECT id FROM users WHERE stripe_customer_id = ?").pluck(),
    saveSubscription: db.prepare(`
      INSERT INTO users (id, stripe_customer_id, stripe_subscription_id, stripe_price_id, subscription_status,
                         current_period_end, cancel_at_period_end)
      VALUES (@user, @customer, @subscription, @price, @status, @periodEnd, @cancels)
      ON CONFLICT (id) DO UPDATE SET
        stripe_customer_id = excluded.stripe_customer_id,
        stripe_subscription_id = excluded.stripe_subscription_id,
        stripe_price_id = excluded.stripe_price_id,
        subscription_status = excluded.subscription_status,
        current_period_end = excluded.current_period_end,
        cancel_at_period_end = excluded.cancel_at_period_end
    `),
    setStatus: db.prepare("UPDATE users SET subscription_status = ? WHERE stripe_customer_id = ?"),
    user: db.prepare("SELECT * FROM users WHERE id = ?"),
  };
}

// The check of access: one row by primary key.
function accessOf(sql, userId) {
  const user = sql.user.get(userId);
  const status = user ? user.subscription_status : null;
  return { allowed: status === "active" || status === "trialing", status };
}

module.exports = { open, statements, accessOf };
