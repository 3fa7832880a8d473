"""The reproduction of the paper: experiments, data sets, tables and figures. It needs mscon; mscon does not need it."""
