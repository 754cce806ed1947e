// Reads an AsyncAPI document from the file given and prints what AsyncAPI's own parser finds in it, one line each.
// Ends with 1 when any of it is an error or a warning.
import {readFileSync} from 'node:fs'
import {Parser} from '@asyncapi/parser'

const SEVERITIES = ['error', 'warning', 'information', 'hint']
const {document, diagnostics} = await new Parser().parse(readFileSync(process.argv[2], 'utf8'))
for (const {severity, path, message} of diagnostics) {
  console.log(`${SEVERITIES[severity]}: ${path.join('.')}: ${message}`)
}
const isSound = document !== undefined && !diagnostics.some(({severity}) => severity <= 1)
if (isSound) {
  console.log(`AsyncAPI ${document.version()}: ${document.channels().length} channels, ${document.operations().length} operations`)
}
process.exit(isSound ? 0 : 1)
