// Chromium, driven by lines of JSON on the standard input: {"selector", "method", "args"} of a page's locator, or of the
// page itself without a selector. Each is answered with {"value"} or {"error"} in a line.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const [modules, chromium, width, height, scheme] = process.argv.slice(2)
const playwright = createRequire(`${modules}/`)('playwright-core')
const browser = await playwright.chromium.launch({
    executablePath: chromium,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1'],
})
const context = await browser.newContext({ viewport: { width: Number(width), height: Number(height) }, colorScheme: scheme })
const page = await context.newPage()
page.setDefaultTimeout(15000)
const complaints = []
page.on('pageerror', (error) => complaints.push(String(error)))
page.on('console', (said) => { if (['error', 'warning'].includes(said.type())) complaints.push(said.text()) })
page.on('request', (request) => { if (!request.url().match(/^(\w+:\/\/127\.0\.0\.1|data:|blob:)/)) complaints.push(request.url()) })

for await (const line of createInterface({ input: process.stdin })) {
    const { selector, method, args } = JSON.parse(line)
    let answer
    try {
        if (method === 'complaints') answer = { value: complaints }
        else {
            const target = selector ? page.locator(selector) : page
            const value = await target[method](...args)
            answer = { value: ['string', 'number', 'boolean'].includes(typeof value) || Array.isArray(value) ? value : null }
        }
    } catch (error) {
        answer = { error: String(error) }
    }
    console.log(JSON.stringify(answer))
}
await browser.close()
