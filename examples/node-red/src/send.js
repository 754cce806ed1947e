// Sends a command of the page and remembers it until the bot has answered. Outputs: to the broker; the page has changed.
const LASTS_MS = 60000;
const { topic, value, topic_id, arguments: args, key } = msg.payload;
const now = Date.now();
const payload = {
    ...args,
    ...(value === undefined ? {} : { value }),
    ...(topic_id ? { topic_id } : {}),
    id: `node-red-${RED.util.generateId()}${RED.util.generateId()}`,
    issued_at: new Date(now).toISOString(),
    // A click is meant for now: what raises risk does not run when the bot comes back hours later.
    expires_at: new Date(now + LASTS_MS).toISOString(),
    source: "node-red",
};
const bot = flow.get("bot");
bot.waiting[payload.id] = { key, topic, payload, sent_at: now, until: now + LASTS_MS };
return [{ topic: `${env.get("BASE")}/${topic}`, payload: JSON.stringify(payload), qos: 1, retain: false }, {}];
