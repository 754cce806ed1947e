// Signs a command, where the environment has MQTT_COMMAND_SECRET: `secret` or `id:secret`, of several the first.
// msg.topic is the whole topic, msg.payload the command as JSON, with its id and issued_at.
const [first] = (env.get("MQTT_COMMAND_SECRET") || "").split(/[,\n]/).map((part) => part.trim()).filter(Boolean);
if (!first) {
    return msg;
}
const colon = first.lastIndexOf(":");
const key = colon < 0 ? "default" : first.slice(0, colon);
// This very text is signed and sent: nobody has to write it again as it was written here.
const signed = JSON.stringify({ topic: msg.topic, ...JSON.parse(msg.payload) });
const signature = crypto.createHmac("sha256", first.slice(colon + 1)).update(signed, "utf8").digest("hex");
return { ...msg, payload: JSON.stringify({ signed, key, signature }) };
