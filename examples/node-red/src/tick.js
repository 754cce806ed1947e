// Once a second: says so when an answer does not come, and asks for new results. Outputs: the page may have changed; a
// problem; questions to the bot.
const PATIENCE_MS = 5000;
const bot = flow.get("bot");
if (!bot) return [null, null, null];
const problems = [];
const questions = [];
const now = Date.now();
for (const [id, command] of Object.entries(bot.waiting)) {
    if (now > command.until) delete bot.waiting[id];
    if (!command.key || command.told || now - command.sent_at < PATIENCE_MS) continue;
    command.told = true;
    problems.push({
        payload:
            `No answer from the bot to ${command.topic} yet. The command waits in the broker: what lowers risk runs when ` +
            "the bot is back, what raises it only within a minute of your click.",
        ui_update: { color: "#b91c1c" },
    });
}
if (bot.results_due && now >= bot.results_due) {
    bot.results_due = 0;
    questions.push({ payload: { topic: "request/trades", arguments: { limit: 100 } } });
    questions.push({ payload: { topic: "request/performance", arguments: { days: 30 } } });
}
return [[{}], problems, questions];
