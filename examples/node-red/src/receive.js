// Remembers what the bot says. Outputs: the page has changed; done; a problem; a question to the bot.
const QUIET = ["catalog", "history", "performance", "ping", "publish_state", "trades"];
const bot = flow.get("bot") || { coins: {}, market: [], commands: [], waiting: {}, since: Date.now() };
flow.set("bot", bot);

if (msg.status) {
    bot.broker = msg.status.fill === "green";
    return [{}, null, null, null];
}

const topic = msg.topic.slice(env.get("BASE").length + 1);
const [room, name, ending] = topic.split("/");
const said = read(msg.payload);
if (!fits()) return null;
const done = [];
const problems = [];
const questions = [];

if (room === "heartbeat" && said) {
    bot.beat_at = Date.now();
    bot.behind = bot.status && said.revision !== bot.status.revision ? (bot.behind || 0) + 1 : 0;
    if (bot.behind === 2) ask("publish_state", {});
} else if (room === "availability") {
    bot.availability = said;
    if (said === "online") refresh();
} else if (room === "cryptos" && name && !ending) {
    if (said === "") delete bot.coins[name];
    else bot.coins[name] = said;
} else if (room === "response" && said) {
    answered(said);
} else if (room === "event" && name === "position_closed") {
    // The books need a moment, and others may close with it.
    bot.results_due = Date.now() + 3000;
} else if (room === "event" && name === "command" && !said.status && said.error) {
    problems.push(toast(`${said.error.message} (${said.error.code})`, "#b45309"));
} else if (room === "catalog") {
    // It has no prices and volumes; the answer to the action has.
    if (bot.market.length) ask("catalog", { availability: "all" });
} else if (!name && said !== "") {
    bot[room] = said;
}
return [[{}], done, problems, questions];

// Somebody else may have published there.
function fits() {
    if (room === "mode" || room === "availability") return typeof said === "string";
    if (said === "") return true;
    if (room === "positions") return Array.isArray(said);
    if (said === null || typeof said !== "object" || Array.isArray(said)) return false;
    return room !== "response" || Boolean(said.name && said.status && said.data && said.warnings);
}

function read(text) {
    try {
        return JSON.parse(text);
    } catch (error) {
        return text;
    }
}

function ask(action, args) {
    questions.push({ payload: { topic: `request/${action}`, arguments: args } });
}

function refresh() {
    ask("catalog", { availability: "all" });
    ask("history", { limit: 200 });
    bot.results_due = Date.now();
}

function answered(response) {
    const mine = bot.waiting[response.id];
    delete bot.waiting[response.id];
    if (mine && response.status === "EXECUTED" && response.name === "catalog") bot.market = response.data.cryptos;
    if (mine && response.status === "EXECUTED" && response.name === "history") {
        keep(response.data.commands.map((row) => entry(row, describe(row.topic || row.name, row.command || ""))));
    }
    if (mine && response.status === "EXECUTED" && response.name === "trades") bot.trades = response.data.trades;
    if (mine && response.status === "EXECUTED" && response.name === "performance") bot.performance = response.data;
    if (response.name === "refresh_catalog" && response.status === "EXECUTED") ask("catalog", { availability: "all" });
    const what = mine ? describe(mine.topic, JSON.stringify(mine.payload)) : described(response);
    // An answer may come twice; the second time it is not known any more what was sent.
    const known = bot.commands.some((each) => each.at === response.received_at && each.name === response.name);
    if (mine || !known) keep([entry(response, what)]);
    if (mine) tell(response, what);
}

function tell(response, what) {
    const { status, error, warnings } = response;
    if (error) problems.push(toast(`${what}: ${status}. ${error.message} (${error.code})`, "#b91c1c"));
    else if (warnings.length) problems.push(toast(`${what}: ${warnings.map((each) => each.message).join(" ")}`, "#b45309"));
    else if (!QUIET.includes(response.name)) done.push(toast(`${what}: ${status.toLowerCase()}`, "#15803d"));
}

function toast(text, color) {
    return { payload: text, ui_update: { color } };
}

function entry(row, what) {
    const { id, name, status, error, source, received_at } = row;
    return { id, name, status, error, source, at: received_at, what };
}

// The newest 50 of those that do something, each once.
function keep(entries) {
    const known = new Map(bot.commands.map((each) => [each.at + each.name, each]));
    for (const each of entries) if (!QUIET.includes(each.name)) known.set(each.at + each.name, each);
    bot.commands = [...known.values()].sort((one, other) => other.at.localeCompare(one.at)).slice(0, 50);
}

// What a command says, from where it was sent and its payload.
function describe(where, text) {
    const [room, ...rest] = where.replace(/^.*?(?=mode\/set|cryptos\/|config\/|request\/)/, "").split("/");
    const sent = read(text);
    const bare = sent === null || typeof sent !== "object" || Array.isArray(sent);
    const { id, issued_at, expires_at, source, transaction, ...body } = bare ? { value: sent } : sent;
    const value = "value" in body ? body.value : body;
    if (room === "mode") return `Mode ${plain(value).toUpperCase()}`;
    if (room === "request") return titled(rest[0], value);
    const one = rest.length === 2 ? `${rest[0]} ` : "";
    if (room === "cryptos") return one ? one + plain(value).toUpperCase() : `Coins ${plain(value) || "none"}`;
    if (room === "config") return `Setting ${one}${plain(value)}`;
    return titled(where, value);
}

// The same of somebody else's command, of which only the answer is known.
function described({ name, data }) {
    if (name === "mode") return `Mode ${data.mode || ""}`.trim();
    const active = plain(data.active || {});
    return name === "cryptos" ? `Coins ${active || "none"}` : titled(name, active);
}

function titled(name, value) {
    return `${name[0].toUpperCase()}${name.slice(1).replace(/_/g, " ")} ${plain(value)}`.trim();
}

function plain(value) {
    const text = typeof value === "string" ? value : JSON.stringify(value).replace(/["{}[\]]/g, "");
    return text.replace(/,/g, ", ");
}
