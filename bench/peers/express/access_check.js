// Prints how many microseconds one check of access takes, the median of blocks: node access_check.js USER CHECKS
const { open, statements, accessOf } = require("./database");

const BLOCKS = 20;
const [user, checks] = process.argv.slice(2);
const perBlock = Math.max(1, Math.floor(Number(checks) / BLOCKS));
const sql = statements(open(process.env.DATABASE));

const blocks = Array.from({ length: BLOCKS }, () => {
  const began = process.hrtime.bigint();
  for (let check = 0; check < perBlock; check += 1) accessOf(sql, user);
  return Number(process.hrtime.bigint() - began) / 1000 / perBlock;
}).sort((a, b) => a - b);

if (!accessOf(sql, user).allowed) throw new Error(`${user} is not let in: the check that was timed is another one`);
console.log(((blocks[BLOCKS / 2 - 1] + blocks[BLOCKS / 2]) / 2).toFixed(3));
