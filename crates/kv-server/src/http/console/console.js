// The page at /: asks the server what everybody may ask, once a second, and shows it. Nothing here
// changes anything unless the switch is on, and then only what is still as it was shown. Text from
// the store is only ever set as text, never as markup.
"use strict";

const POINTS = 90;
const PAGE = 200;
const at = (id) => document.getElementById(id);
const made = (name, text) => {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  return element;
};
const send = async (path, options) => {
  const reply = await fetch(path, options);
  if (!reply.ok) throw new Error((await reply.json().catch(() => ({}))).detail || reply.statusText);
  return reply;
};
const ask = async (path) => (await send(path, { headers: { accept: "application/json" } })).json();
const grouped = (number) => Math.round(number).toLocaleString("en");
const size = (bytes) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return `${bytes.toFixed(unit ? 1 : 0)} ${units[unit]}`;
};

// ---- Plots.

const PLOTS = [
  ["reads/s", (now, old) => now.cache_hits + now.cache_misses - old.cache_hits - old.cache_misses],
  ["commits/s", (now, old) => now.revision - old.revision],
  ["log written/s", (now, old) => (now.log_written_bytes ?? 0) - (old.log_written_bytes ?? 0), size],
  ["answered in, ms", null, (ms) => ms.toFixed(1)],
].map(([name, rate, shown = grouped]) => {
  const figure = made("figure"), caption = made("figcaption", name), value = made("b", "");
  const canvas = made("canvas");
  caption.append(value);
  figure.append(caption, canvas);
  at("plots").append(figure);
  return { name, rate, shown, value, canvas, points: [] };
});

function draw({ canvas, points }) {
  const scale = window.devicePixelRatio || 1;
  const width = (canvas.width = canvas.clientWidth * scale);
  const height = (canvas.height = canvas.clientHeight * scale);
  const context = canvas.getContext("2d");
  const most = Math.max(...points, 1e-9);
  context.strokeStyle = getComputedStyle(document.body).getPropertyValue("--blue");
  context.lineWidth = 1.5 * scale;
  context.beginPath();
  points.forEach((point, nth) => {
    const x = width - ((points.length - 1 - nth) / (POINTS - 1)) * width;
    const y = height - 2 * scale - (point / most) * (height - 6 * scale);
    nth ? context.lineTo(x, y) : context.moveTo(x, y);
  });
  context.stroke();
}

// ---- What is now.

let before = null;

function facts(stats) {
  const rows = [
    ["keys", grouped(stats.keys)],
    ["versions", grouped(stats.versions)],
    ["transactions open", grouped(stats.transactions_open)],
    ["connections", grouped(stats.connections)],
    ["memory, resident", size(stats.memory_resident_bytes || 0)],
    ["records", size(stats.record_bytes)],
  ];
  if (stats.log_bytes !== undefined) {
    rows.push(["log", `${size(stats.log_bytes)} of ${size(stats.log_bytes_max)}`]);
    rows.push(["snapshot", size(stats.snapshot_bytes)]);
  }
  at("facts").replaceChildren(...rows.flatMap(([name, value]) => [made("dt", name), made("dd", value)]));
}

function table(id, rows, is_marked = () => false) {
  const made_rows = rows.map((cells) => {
    const row = made("tr");
    if (is_marked(cells)) row.className = "waiting";
    row.append(...cells.map((cell) => made("td", cell ?? "")));
    return row;
  });
  at(id).tBodies[0].replaceChildren(...made_rows);
}

// Whether a lock is held or waited for, and whom for: those who hold one on the same key.
function lock_state(lock, locks) {
  if (lock.state !== "waiting" || lock.key === undefined) return lock.state;
  const holders = locks.filter((of) => of.key === lock.key && of.state === "held"
    && of.session !== lock.session);
  return holders.length ? `waiting for ${holders.map((of) => of.session).join(", ")}` : "waiting";
}

async function look() {
  const asked = performance.now();
  try {
    const stats = await ask("/v1/stats");
    const took = performance.now() - asked;
    const now = { stats, at: asked };
    if (before) {
      const seconds = (now.at - before.at) / 1000;
      for (const plot of PLOTS) {
        const value = plot.rate ? plot.rate(stats, before.stats) / seconds : took;
        plot.points.push(Math.max(value, 0));
        if (plot.points.length > POINTS) plot.points.shift();
        plot.value.textContent = plot.shown(plot.points.at(-1));
        draw(plot);
      }
    }
    before = now;
    facts(stats);
    const [locks, clients, { shards }] =
      await Promise.all([ask("/v1/locks"), ask("/v1/transactions"), ask("/v1/shards")]);
    const most = Math.max(...shards.map((shard) => shard.keys), 1);
    at("shard-most").textContent = `at most ${grouped(most)}`;
    at("shards").replaceChildren(...shards.map((shard) => {
      const bar = made("span");
      bar.style.height = `${(shard.keys / most) * 100}%`;
      bar.title = `shard ${shard.index}: ${grouped(shard.keys)} keys, ${size(shard.bytes)}`;
      return bar;
    }));
    const waiting = (lock) => (lock.state === "waiting" ? 0 : 1);
    const most_wanted = locks.locks.sort((a, b) => waiting(a) - waiting(b)).slice(0, 50);
    table("locks", most_wanted.map((lock) => [lock.session, lock.transaction, lock.key ?? lock.range,
      lock.mode, lock_state(lock, locks.locks), lock.age_in_ms]),
    (cells) => cells[4].startsWith("waiting"));
    // Those that serve HTTP come and go with the requests; what has a token stays.
    const sessions = clients.sessions.filter((of) => of.address !== "http" || of.detached);
    sessions.sort((a, b) => b.transactions.length - a.transactions.length);
    table("clients", sessions.slice(0, 50).flatMap((of) => {
      const client = [of.session, of.address + (of.detached ? ", by token" : ""), of.name, of.command,
        of.idle_in_ms];
      if (!of.transactions.length) return [client];
      return of.transactions.map((txn, nth) => [...(nth ? ["", "", "", "", ""] : client), txn.id,
        txn.isolation, txn.state, txn.age_in_ms, txn.writes]);
    }));
    at("state").textContent = `version ${stats.version}, up ${grouped(stats.uptime_s)} s`;
    at("state").className = "";
  } catch (error) {
    at("state").textContent = `not reached: ${error.message}`;
    at("state").className = "bad";
  }
  setTimeout(look, 1000);
}

// ---- Keys.

let next = null;

// A key that is not UTF-8 is named in base64; the path takes any bytes, percent-encoded.
const key_path = (name) => {
  if (!name.startsWith("base64:")) return encodeURIComponent(name);
  return [...atob(name.slice(7))].map((c) => "%" + c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
};
const as_text = ({ value, deleted }) => {
  if (deleted) return null;
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
};

async function list(after) {
  at("told").hidden = true;
  const query = new URLSearchParams({ limit: PAGE });
  if (at("prefix").value) query.set("prefix", at("prefix").value);
  // It comes percent-encoded, since it may be any bytes.
  const page = await ask(`/v1/kv?${query}${after ? `&after=${after}` : ""}`);
  next = page.next ?? null;
  at("more").hidden = !next;
  const rows = page.rows.map(({ key }) => {
    const item = made("li"), button = made("button", key);
    button.addEventListener("click", () => show(key, button));
    item.append(button);
    return item;
  });
  at("keys").replaceChildren(...(rows.length ? rows : [made("li", "no keys")]));
}

async function show(key, button) {
  at("told").hidden = true;
  document.querySelectorAll("#keys [aria-current]").forEach((of) => of.removeAttribute("aria-current"));
  button?.setAttribute("aria-current", "true");
  const { versions } = await ask(`/v1/history/${key_path(key)}?limit=100`);
  at("key").hidden = false;
  at("key-name").textContent = key;
  shown_key = key;
  if (at("writing").checked) edit(key).catch(tell);
  const buttons = versions.map((version, nth) => {
    const item = made("li"), button = made("button", `${version.version}${version.deleted ? " deleted" : ""}`);
    button.title = new Date(version.timestamp * 1000).toISOString();
    button.addEventListener("click", () => compare(version, versions[nth + 1], button));
    item.append(button);
    return item;
  });
  at("versions").replaceChildren(...buttons);
  if (versions.length) compare(versions[0], versions[1], buttons[0].firstChild);
}

function compare(version, older, button) {
  document.querySelectorAll("#versions [aria-current]").forEach((of) => of.removeAttribute("aria-current"));
  button.setAttribute("aria-current", "true");
  at("shown-title").textContent = older
    ? `version ${version.version}, and what changed since ${older.version}`
    : `version ${version.version}`;
  const lines = older ? difference(as_text(older), as_text(version)) : [[" ", as_text(version)]];
  at("shown").replaceChildren(...lines.map(([kind, text]) =>
    made({ "+": "ins", "-": "del" }[kind] ?? "div", text || "\u200b")));
}

// Lines that were removed and added: the longest common subsequence; of long texts only the middle
// that differs.
function difference(old_text, new_text) {
  // Of what is deleted there is no line, not even an empty one.
  const a = old_text?.split("\n") ?? [], b = new_text?.split("\n") ?? [];
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  while (end < a.length - start && end < b.length - start
    && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const x = a.slice(start, a.length - end), y = b.slice(start, b.length - end);
  const middle = [];
  if (x.length * y.length > 250_000) {
    middle.push(...x.map((line) => ["-", line]), ...y.map((line) => ["+", line]));
  } else {
    const common = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
    for (let i = x.length - 1; i >= 0; i -= 1) {
      for (let j = y.length - 1; j >= 0; j -= 1) {
        common[i][j] = x[i] === y[j] ? common[i + 1][j + 1] + 1
          : Math.max(common[i + 1][j], common[i][j + 1]);
      }
    }
    let i = 0, j = 0;
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) {
        middle.push([" ", x[i]]); i += 1; j += 1;
      } else if (j === y.length || (i < x.length && common[i + 1][j] >= common[i][j + 1])) {
        middle.push(["-", x[i]]); i += 1;
      } else {
        middle.push(["+", y[j]]); j += 1;
      }
    }
  }
  const same = (lines) => lines.map((line) => [" ", line]);
  return [...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))];
}

// ---- Changes, when the switch is on.

// What is shown, and what is edited: a key and its version, or a new one.
let shown_key = null, edited = null;

async function edit(key) {
  disarm();
  edited = { key, version: null };
  at("name").value = key ?? "";
  at("value").value = "";
  at("new-name").hidden = key !== null;
  at("delete").hidden = key === null;
  at("edit").querySelectorAll("textarea, button").forEach((of) => { of.disabled = false; });
  if (key === null) return;
  const reply = await fetch(`/v1/kv/${key_path(key)}`);
  if (reply.status === 404) { at("delete").hidden = true; return; }
  const bytes = await reply.arrayBuffer();
  if (edited.key !== key) return;
  edited.version = reply.headers.get("etag");
  at("kind").value = reply.headers.get("content-type") === "application/json" ? "application/json" : "text/plain";
  try {
    at("value").value = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    at("value").value = "(not text: it cannot be changed here)";
    at("value").disabled = at("edit").querySelector("button").disabled = true;
  }
}

// Only over the version that was shown: somebody else's change is never lost.
async function change(method, body) {
  const key = edited.key ?? at("name").value;
  const condition = edited.version ? { "if-match": edited.version } : { "if-none-match": "*" };
  const headers = { ...condition, ...(body === undefined ? {} : { "content-type": at("kind").value }) };
  await send(`/v1/kv/${key_path(key)}`, { method, headers, body });
  await list();
  const of = [...at("keys").querySelectorAll("button")].find((button) => button.textContent === key);
  await show(key, of);
}

const disarm = () => { at("delete").textContent = "Delete"; };
at("writing").addEventListener("change", () => {
  document.querySelectorAll(".writes").forEach((of) => { of.hidden = !at("writing").checked; });
  if (at("writing").checked && shown_key !== null) edit(shown_key).catch(tell);
});
at("new").addEventListener("click", () => {
  at("key").hidden = false;
  at("key-name").textContent = "new key";
  at("versions").replaceChildren();
  at("shown").replaceChildren();
  at("shown-title").textContent = "";
  shown_key = null;
  edit(null);
  at("name").focus();
});
at("edit").addEventListener("submit", (event) => {
  event.preventDefault();
  change("PUT", at("value").value).catch(tell);
});
at("delete").addEventListener("click", () => {
  if (at("delete").textContent === "Delete") { at("delete").textContent = "Delete it: sure?"; return; }
  disarm();
  change("DELETE").catch(tell);
});
at("delete").addEventListener("blur", disarm);

// Stays until something else is asked for.
const tell = (error) => { at("told").textContent = error.message; at("told").hidden = false; };
at("search").addEventListener("submit", (event) => { event.preventDefault(); list().catch(tell); });
at("more").addEventListener("click", () => list(next).catch(tell));
at("keys").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...at("keys").querySelectorAll("button")];
  const now = buttons.indexOf(document.activeElement);
  buttons[Math.min(Math.max(now + step, 0), buttons.length - 1)]?.focus();
});
// A key can be linked to: /#key=NAME.
const linked = () => {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key) show(key).catch(tell);
};
window.addEventListener("hashchange", linked);
list().then(linked).catch(tell);
look();
