// What a product with Supabase's sync engine does once: make its tables, and fetch all of Stripe. Prints the rows.
// Run with the simulator's URL, the database's, and what to fetch, from a NODE_PATH that has the packages.
const Stripe = require("stripe");
const { Client } = require("pg");
const { StripeSync, runMigrations } = require("@supabase/stripe-sync-engine");

const [address, databaseUrl, ...objects] = process.argv.slice(2);
const url = new URL(address);
const KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc";

async function main() {
  const stripe = new Stripe(KEY, { host: url.hostname, port: url.port, protocol: "http", telemetry: false });
  await runMigrations({ databaseUrl, schema: "stripe", logger: { info() {}, error: console.error } });
  const sync = new StripeSync({
    poolConfig: { connectionString: databaseUrl },
    stripeSecretKey: KEY,
    stripeWebhookSecret: "whsec_of_nobody",
    stripeApiVersion: stripe.getApiField("version"),
    backfillRelatedEntities: true,
    autoExpandLists: true,
  });
  sync.stripe = stripe; // the engine has no setting for the host
  for (const object of objects) await sync.syncBackfill({ object });

  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  const tables = await client.query("select table_name from information_schema.tables where table_schema = 'stripe'");
  const rows = {};
  for (const { table_name: name } of tables.rows) {
    const columns = await client.query(
      "select 1 from information_schema.columns where table_schema = 'stripe' and table_name = $1 and column_name = 'id'",
      [name],
    );
    if (!columns.rowCount || name === "migrations") continue;
    const found = await client.query(`select id from stripe."${name}" order by id`);
    if (found.rowCount) rows[name] = found.rows.map((row) => row.id);
  }
  process.stdout.write(JSON.stringify(rows), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
