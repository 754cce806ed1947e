        price(value) {
            if (value === null || value === undefined) return '–';
            const digits = value >= 10000 ? 0 : value >= 1 ? 2 : 5;
            return '$' + value.toLocaleString('en', { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
        },
        usd(value) {
            if (value === null || value === undefined) return '–';
            const text = Math.abs(value).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
            return (value <= -0.005 ? '−$' : '$') + text;
        },
        percent(value) {
            if (value === null || value === undefined) return '–';
            const text = Math.abs(value).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 }) + ' %';
            return (Math.abs(value) < 0.005 ? '' : value > 0 ? '+' : '−') + text;
        },
        volume(value) {
            if (value === null || value === undefined) return '–';
            return '$' + value.toLocaleString('en', { notation: 'compact', maximumFractionDigits: 1 });
        },
        tone(value) {
            return !value ? '' : value > 0 ? 'am-good' : 'am-bad';
        },
